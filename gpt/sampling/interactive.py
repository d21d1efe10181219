"""`sample.py --interactive`: a person and the model write one text in turns.

What is typed is added to the text just as it is, and the model goes on from there; an empty line lets it go on
by itself. Ctrl-C stops the model in the middle of its turn, and ends the session at the prompt; so does Ctrl-D.
On a terminal the arrow keys edit the line and bring back earlier ones (readline, where Python has it). The model
sees as much of the end of the text as fits its context.
"""

import contextlib
import sys
from collections.abc import Sequence

from gpt.cli.output import say, write
from gpt.sampling.generate import Generation
from gpt.sampling.streaming import Completion, complete, start_of
from gpt.tokenizers import TokenizerError

PROMPT = "> "


def converse(model, tokenizer, text: str, max_new_tokens: int, stop: Sequence[str], controls: dict) -> int:
    """Run a session that starts from `text`; its exit code, 0. `controls` are those of `generate`, the seed among them.

    Turn t draws the random numbers of sample t, so the same seed and the same lines give the same session.
    """
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401  gives input() its editing and history
        say("type what the model shall go on from; an empty line lets it go on; Ctrl-C stops it, Ctrl-D ends")
    write(text)
    turn = 0
    while True:
        try:
            line = read_line(terminal)
        except (EOFError, KeyboardInterrupt):
            if terminal:
                say("")
            elif text and not text.endswith("\n"):
                write("\n")
            return 0
        try:
            start = start_of(tokenizer, text + line)
        except TokenizerError as error:
            say(f"error: {error}")
            continue
        text += line
        if not (terminal and sys.stdout.isatty()):
            write(line)  # there the person does not see it yet
        completion = Completion(tokenizer, stop, start.given)
        generation = Generation(model, start.ids, max_new_tokens, first=start.first, first_sample=turn, **controls)
        complete(generation, [completion], lambda i, piece: write(piece))
        text += completion.text
        turn += 1
        if terminal:
            write("\n" * (not text.endswith("\n")))


def read_line(terminal: bool) -> str:
    """One line from stdin, without its end. The prompt is for a person: nothing of it goes where text is saved.

    Raises EOFError at the end, KeyboardInterrupt.
    """
    if terminal and not sys.stdout.isatty():
        sys.stderr.write(PROMPT)
        sys.stderr.flush()
    return input(PROMPT if terminal and sys.stdout.isatty() else "")
