from gpt.notebook import LiveCurve


def test_in_a_notebook_every_evaluation_is_drawn_in_one_place(kernel):
    curve = LiveCurve()
    for step in range(1, 4):
        curve({"step": step, "loss": 4.0 / step, "train_loss": 4.0 / step, "val_loss": 5.0 / step})
    assert [how for how, _, _ in kernel] == ["display", "update", "update"]
    bundle = kernel[-1][2]
    assert bundle["image/svg+xml"] == curve.svg() and "val_loss 1.6667 at step 3" in bundle["text/plain"]


def test_batches_are_drawn_no_more_often_than_one_can_look(kernel):
    curve = LiveCurve("zh")
    for step in range(1, 400):
        curve({"step": step, "loss": 4.0 / step})
    assert 1 <= len(kernel) < 40 and len(curve.points["loss"]) == 399


def test_outside_a_notebook_it_is_kept_and_not_drawn(capfd):
    curve = LiveCurve()
    assert curve({"step": 1, "loss": 2.0}) is None
    assert curve.points["loss"] == [(1, 2.0)] and capfd.readouterr() == ("", "")
