"""Numbers from confusion matrices: IoU, and what becomes of it under corruption."""
