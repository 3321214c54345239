"""The options of the command line, their presets, and the combinations that are refused."""
