"""Exercises: write a layer's backward pass, and have it judged. `python -m exercises` begins.

command.py     list, start, check, hint, give-up, bug, progress, train
catalog.py     the exercises: tasks/*/NAME.py is the solution, NAME.toml its texts and its classic mistakes
cases.py       inputs for each exercise, and everything that its solution computes from them
judge.py       in a process of its own: is a learner's file right, and if not, what is wrong
recognise.py   which classic mistake makes these wrong numbers
own_model.py   the learner's layers in the real model, which trains with them
"""
