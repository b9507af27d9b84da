# For a machine that has nothing yet: makes .venv, then hands over to just (`.venv/bin/just --list`).
.PHONY: demo test serve stop

demo test serve stop:
	@scripts/bootstrap.sh
	@exec .venv/bin/just $@
