"""The compiled engine: the plain one with its usual path overridden by compiled code, optional at run time.

Three classes of the plain engine (Connection, Call, Conversation) have their behaviour apart from their state. Here the
state lies in C, under the same names; the usual path of a request works on it directly, and whatever is unusual is the
plain engine's own method on the same object. So nothing is decided twice: not framing, not refusals, not trust.

`_engine` is compiled from `_engine.pyx`, of which the `.pxi` files are parts, and from `scan.h`, the scanner of heads.
"""
