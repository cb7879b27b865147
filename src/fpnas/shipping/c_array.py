"""An int8 LiteRT file as C source, for TensorFlow Lite Micro: an array that is compiled into the firmware."""

from __future__ import annotations

import re

_A_LINE = 16


def to_c(content: bytes, name: str, notes: str = "") -> str:
    """C source that defines `alignas(16) const unsigned char NAME[]` and `const unsigned int NAME_len`; C11 and C++11.

    Args:
        content: the file.
        name: any text; what can't stand in a C name becomes an underscore.
        notes: comment lines at the head.

    Example:
        >>> "my_net_len = 2" in to_c(b"ab", "my-net")
        True
    """
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    name = f"_{name}" if name[:1].isdigit() or not name else name
    rows = (content[start : start + _A_LINE] for start in range(0, len(content), _A_LINE))
    guard = f"{name.upper()}_INCLUDED"
    comments = [f"// {' '.join(line.split())}".replace("\\", "/").replace("??", "?") for line in notes.splitlines()]
    lines = [
        *comments,
        f"#ifndef {guard}",
        f"#define {guard}",
        "#ifndef __cplusplus",
        "#include <stdalign.h>",
        "#endif",
        f"alignas(16) static const unsigned char {name}[] = {{",
        *("    " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows),
        "};",
        f"static const unsigned int {name}_len = {len(content)};",
        "#endif",
    ]
    return "\n".join([*lines, ""])
