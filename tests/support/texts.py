"""Texts that several test files use."""

EIGHT_LINES = """\
A small model reads a small book, and reads it again.
The more it reads, the better it knows the next word.
What it has never seen, it cannot guess.
Ask it for a story and it will tell you one.
小小的模型读一本小小的书，读了一遍又一遍。
它读得越多，就越知道下一个字是什么。
没有见过的东西，它猜不出来。
请它讲一个故事，它就讲给你听。
"""
