"""A throwaway PostgreSQL as pg_regress sets one up, and a pgweir in front of it."""
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: float(bin.parent.name))[-1]
PATIENCE = 60

# What `pg_regress --temp-instance` writes, and what lets it run beside others: no durability, no sockets in shared places. A pooler
# keeps servers for each user of the tests. A backend never unloads a library, so whether a test finds plpgsql loaded (guc asks) would
# depend on what its backend did before; here every backend begins with it, in the direct run, too.
SETTINGS = """
log_autovacuum_min_duration = 0
log_checkpoints = on
log_line_prefix = '%m %b[%p] %q%a '
log_lock_waits = on
log_temp_files = 128kB
max_prepared_transactions = 2
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 300
session_preload_libraries = 'plpgsql'
"""
# As pg_regress alters each database it creates.
DATABASE_SETTINGS = {"lc_messages": "C", "lc_monetary": "C", "lc_numeric": "C", "lc_time": "C", "bytea_output": "hex",
                     "timezone_abbreviations": "Default"}


def user():
    """Who PostgreSQL runs as: not root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def unprivileged(command):
    """The command run as that user, dying with us."""
    become = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        become += [f"--reuid={user().pw_uid}", f"--regid={user().pw_gid}", "--clear-groups"]
    return become + ["--", *map(str, command)]


def reachable(path):
    return subprocess.run(unprivileged(["test", "-x", path])).returncode == 0


def give_away(path):
    os.chown(path, user().pw_uid, user().pw_gid)


def version():
    return subprocess.run([BIN / "postgres", "--version"], capture_output=True, text=True).stdout.split()[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, child, log):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it did not start:\n{Path(log).read_text()}")
            time.sleep(0.05)


def psql(address, database, *statements):
    """Each statement on its own, all over one connection; the values they give, a line each."""
    host, port = address
    command = [BIN / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", str(port), "-U", "postgres", "-d", database]
    for statement in statements:
        command += ["-c", statement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"psql: {done.stderr}")
    return done.stdout.splitlines()


class Child:
    """A server process, ended with the block that uses it."""

    address = None
    child = None

    def launch(self, command, log, environment=None):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                          env=environment, cwd="/", start_new_session=True)
        wait_for_port(self.address[1], self.child, log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(self.end_signal)
        self.child.wait()


class Cluster(Child):
    end_signal = 2  # SIGINT: a fast stop

    def __init__(self, data, log):
        self.address = ("127.0.0.1", free_port())
        self.data = data
        shutil.rmtree(data, ignore_errors=True)
        initdb = [BIN / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(unprivileged(initdb), check=True, stdout=subprocess.DEVNULL, cwd="/")
        with open(data / "postgresql.conf", "a") as conf:
            conf.write(SETTINGS)
        self.launch(unprivileged([BIN / "postgres", "-D", data, "-p", self.address[1]]), log)
        deadline = time.monotonic() + PATIENCE
        while subprocess.run([BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.address[1])]).returncode != 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL is not ready: {log}")
            time.sleep(0.05)

    def create_database(self, name):
        psql(self.address, "postgres", f"CREATE DATABASE {name} TEMPLATE template0",
             *(f"ALTER DATABASE {name} SET {key} TO '{value}'" for key, value in DATABASE_SETTINGS.items()))

    def __exit__(self, *_):
        super().__exit__()
        shutil.rmtree(self.data, ignore_errors=True)


class Pgweir(Child):
    end_signal = 2  # SIGINT: at once

    def __init__(self, binary, mode, cluster, place, switch, settings=()):
        self.address = ("127.0.0.1", free_port())
        config = place / "pgweir.toml"
        # trust, too, lets only known users in, and in PostgreSQL's tests nobody else connects.
        users = place / "users.txt"
        users.write_text('"postgres" ""\n')
        # Room for a group of 20 tests that lock each other out, so that no client waits for a server.
        config.write_text(f"""[pgweir]
listen_addr = "127.0.0.1"
listen_port = {self.address[1]}
auth_type = "trust"
auth_file = "{users}"
pool_mode = "{mode}"
default_pool_size = 60
max_client_conn = 500
{"".join(f"{line}{chr(10)}" for line in settings)}[databases."*"]
host = "127.0.0.1"
port = {cluster.address[1]}
[metrics]
listen = ""
""")
        environment = {**os.environ, **({"PGWEIR_SWITCH_SERVERS": "1"} if switch else {})}
        command = ["setpriv", "--pdeathsig", "KILL", "--", binary, config]
        self.launch(list(map(str, command)), place / "pgweir.log", environment)

    def switches(self, database):
        """How often PGWEIR_SWITCH_SERVERS gives a client another server than before, in 100 transactions."""
        pids = psql(self.address, database, *["SELECT pg_backend_pid()"] * 101)
        return sum(one != next for one, next in zip(pids, pids[1:]))
