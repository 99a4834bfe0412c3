"""Scripts that measure fakelab: speed, and detectors on videos with known fakes. Not installed."""
