"""Who may run what on which assets, within which limits, approved by whom; and the ledger that holds them to it."""
