"""The price book: instances, serverless seconds, storage, transfer; each price with its date and source."""
