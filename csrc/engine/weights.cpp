namespace distilmt {}
