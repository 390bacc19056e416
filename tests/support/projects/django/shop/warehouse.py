"""A connection that each worker has for itself, opened and closed by hooks."""

import os
import sqlite3
from pathlib import Path

opened = []


def open():
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table stock (name text)")
    connection.executemany("insert into stock values (?)", [("a",), ("b",)])
    opened.append(connection)


def count():
    return opened[-1].execute("select count(*) from stock").fetchone()[0]


def close():
    opened.pop().close()
    with Path("closed").open("a") as file:
        file.write(f"{os.getpid()}\n")
