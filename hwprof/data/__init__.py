"""What hwprof keeps on disk: the store of measurements, data sets, and results of searches and compressions."""
