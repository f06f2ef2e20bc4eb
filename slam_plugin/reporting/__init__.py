"""The HTML report of a run: reading logs, drawing figures, writing sections. ``page`` assembles them."""
