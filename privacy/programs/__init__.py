"""Programs by sample and aggregate: what a block may say, how many blocks there are, and what leaves. No I/O."""
