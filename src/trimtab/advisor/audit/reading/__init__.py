"""Reading an account: calls that change nothing, politely made, each refusal remembered."""
