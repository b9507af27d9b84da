"""Statistics over what providers encrypted at home: fixed profiles, strict readers, sums, masked noise, release. No I/O."""
