"""A small terminal: it obeys the control sequences of the live table, and knows what a person sees at the end."""

import re

SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(.)", re.DOTALL)


class Terminal:
    """What a terminal shows after it has received some text.

    Attributes:
        lines: The lines on the screen.
        cursor: Whether the cursor is shown.
    """

    def __init__(self, text: str) -> None:
        self.lines, self.cursor = [""], True
        self._row = self._column = 0
        for match in SEQUENCE.finditer(text):
            parameter, command, character = match.groups()
            if command:
                self._obey(parameter, command)
            else:
                self._put(character)

    def _obey(self, parameter: str, command: str) -> None:
        if command == "A":
            self._row = max(0, self._row - int(parameter or 1))
        elif command == "K":
            assert parameter == "2"
            self.lines[self._row] = ""
        elif parameter == "?25":
            self.cursor = command == "h"
        else:
            assert command == "m", f"an unknown sequence: {parameter}{command}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":  # a terminal also returns to the first column, as its driver adds \r
            self._row, self._column = self._row + 1, 0
            self.lines += [""] * (self._row + 1 - len(self.lines))
        else:
            assert character.isprintable(), repr(character)
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = f"{line[: self._column]}{character}{line[self._column + 1 :]}"
            self._column += 1
