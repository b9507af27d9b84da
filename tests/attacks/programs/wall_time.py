"""Takes long or short, which whoever waits for the container can see."""

import time

ROWS = (30,)
CONTROL = "the answer is released at the time that the plan fixed; in the zygote a block's slot has one length"
RESIDUAL = (
    "how long a container took is seen by the server and by whoever can watch the machine; stated in the guarantee"
)


def analyse(tables, params):
    time.sleep(params["slot_seconds"] / 4)
    return {"hit": 0.0}
