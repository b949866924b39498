"""The process that drains the queues of asynchronous endpoints: lease, send to a replica, publish, acknowledge."""
