"""The data that hwprof keeps on disk: the store of measurements and results, and data sets."""
