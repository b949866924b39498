"""What things cost. (Prices so far; ledger, audit and advice build on them.)"""
