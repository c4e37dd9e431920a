"""How Redis spells a command on the wire (RESP 2). What commands are sent does not belong here."""


def bulk(data: bytes) -> bytes:
    """One bulk string.

    >>> bulk(b"GET")
    b'$3\\r\\nGET\\r\\n'
    """
    return b"$%d\r\n%s\r\n" % (len(data), data)


def command(*arguments: bytes) -> bytes:
    """One command.

    >>> command(b"PING")
    b'*1\\r\\n$4\\r\\nPING\\r\\n'
    """
    return b"*%d\r\n" % len(arguments) + b"".join(map(bulk, arguments))
