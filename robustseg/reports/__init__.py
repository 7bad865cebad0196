"""Tables and figures from stored results; no network is run here."""
