"""One SELECT: checked, planned, run block by block, combined and released."""
