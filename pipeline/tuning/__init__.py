"""The outer loop, `msinet tune`: an Optuna study on Ray Tune, whose trials are ordinary stages."""
