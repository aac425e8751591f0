"""What customer service is made of in every trade: records for each run, sums, handing over to a person."""
