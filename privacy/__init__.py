"""Mathematics of the guarantee: accounting, mechanisms, SQL to bounded sums. No I/O."""
