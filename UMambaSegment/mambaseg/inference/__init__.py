"""From volumes to labels: preprocessing, tiles, prediction, export, forecast."""
