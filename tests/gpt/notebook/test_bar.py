from gpt.notebook.bar import NotebookBar
from gpt.training.progress import progress_bar, watched_samples


class Shown(list):
    """A place that keeps what is shown in it."""

    def show(self, bundle):
        self.append(bundle)


def bar_of(times, **options):
    times, place = iter(times), Shown()
    return NotebookBar(600, clock=lambda: next(times), place=place, **options), place


def test_the_bar_counts_and_says_how_long_it_will_take():
    bar, _ = bar_of([0, 10])
    bar.n, bar.postfix = 120, "loss 2.31"
    assert bar.text() == "120/600, 00:40 left, loss 2.31"


def test_a_run_that_goes_on_counts_its_own_steps_alone():
    bar, _ = bar_of([0, 10], initial=500)
    bar.n = 550
    assert bar.text() == "550/600, 00:10 left"


def test_at_its_end_it_says_how_long_it_took_and_has_no_bar():
    bar, place = bar_of([0, 0, 0] + [14] * 9, desc="samples")
    with bar:
        bar.update(600)
        bar.set_postfix_str("loss <0.5>", refresh=False)
    assert place[-1] == {
        "text/html": "samples: 600/600 in 00:14, loss &lt;0.5&gt;",
        "text/plain": "samples: 600/600 in 00:14, loss <0.5>",
    }
    assert '<progress value="0" max="600"' in place[0]["text/html"]


def test_it_is_not_drawn_more_often_than_one_can_look():
    ticking = iter(range(10_000))
    place = Shown()
    with NotebookBar(600, clock=lambda: 0.001 * next(ticking), place=place) as bar:
        for _ in range(600):
            bar.update()
    assert 2 <= len(place) <= 12 and place[-1]["text/plain"].startswith("600/600")


def test_a_kernel_gets_this_bar_and_stderr_stays_silent(kernel, capfd):
    with progress_bar(3, 10) as bar:
        bar.update(4)
        bar.set_postfix_str("loss 1.5")
    assert not bar.disable and kernel[-1][2]["text/plain"].startswith("7/10 in 00:0") and "loss 1.5" in str(kernel[-1])
    assert list(watched_samples(iter(range(5)), 5)) == list(range(5))
    assert kernel[-1][2]["text/plain"].startswith("samples: 5/5 in")
    assert capfd.readouterr() == ("", "")
