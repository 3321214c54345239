"""What a command line may say: the options, their presets, and the combinations that are refused."""
