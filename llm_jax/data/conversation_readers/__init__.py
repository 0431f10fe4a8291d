"""Public formats of conversations, one a file.

Each module has `reads(fields)`, whether a record is of its format, and
`read(fields)`, what is in it: a list of (messages, tools) pairs, in the form of
`tokenizer/messages.py` but unchecked. A record that is of the format and
broken raises `DataFault`.
"""
