"""Files and models of other toolkits."""
