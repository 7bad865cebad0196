"""The ``robustseg`` command: one module a subcommand, parser and hand-over."""
