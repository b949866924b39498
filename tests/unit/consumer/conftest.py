import uvloop


def pytest_asyncio_loop_factories(config, item):
    """As in production. (The standard loop leaks a connection that is accepted while its server closes.)"""
    return {"uvloop": uvloop.new_event_loop}
