"""The process that answers what only Feast can: Feast's own application on a Unix socket, for the server that started it and nobody else.

Run as ``python -m feature_platform.server.feast_child SOCKET``. It ends when its standard input does, so it never outlives that server.
"""

import sys
import threading


def main() -> None:
    """Serve until standard input ends."""
    import uvicorn
    from feast.feature_server import get_app
    from feast.permissions.server.utils import ServerType, init_auth_manager, init_security_manager, str_to_auth_manager_type

    from feature_platform.adapters.feast.repository import REGISTRY_CACHE_TTL_S, open_store
    from feature_platform.adapters.logs import configure_logs
    from feature_platform.settings import load_settings, logs_are_json
    from feature_platform.wiring import feast_environment

    configure_logs(is_json=logs_are_json())
    store = open_store(feast_environment(load_settings()))
    auth_type = str_to_auth_manager_type(store.config.auth_config.type)
    init_security_manager(auth_type=auth_type, fs=store)
    init_auth_manager(auth_type=auth_type, server_type=ServerType.REST, auth_config=store.config.auth_config)
    app = get_app(store, registry_ttl_sec=REGISTRY_CACHE_TTL_S)
    server = uvicorn.Server(uvicorn.Config(app, uds=sys.argv[1], log_config=None, access_log=False, lifespan="on"))

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
