"""Sound files to samples at their own rate, up to their real end whatever their headers claim. Without torch."""
