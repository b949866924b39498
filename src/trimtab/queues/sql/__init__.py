"""What every op does to the tables of queues, whatever database keeps them: `Book` is where databases differ."""
