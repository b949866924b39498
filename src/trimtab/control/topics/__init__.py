"""Topics (SNS): from a topic's inbox to its subscribers, each exactly as often as its own queue promises."""
