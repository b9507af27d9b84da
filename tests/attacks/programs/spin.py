"""Never ends."""

ROWS = (10,)
CONTROL = "cpu cap of the block: killed, and the slots of the others stay where they were"
ENDS = "fails"


def analyse(tables, params):
    while True:
        pass
