from battery import battery_test, jacobian_test

test_CrossEntropy_battery = battery_test("CrossEntropy")
test_CrossEntropy_jacobian = jacobian_test("CrossEntropy")
