// A day's work by pgjdbc, prepared from the first use: java -cp pgjdbc.jar PgjdbcWork.java URL USER PASSWORD; prints ok.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;

public class PgjdbcWork {
    static final String TABLE = "t_" + UUID.randomUUID().toString().replace("-", "");
    static String url, user, password;

    public static void main(String[] args) throws Exception {
        url = args[0];
        user = args[1];
        password = args[2];
        try (Connection conn = connect("")) {
            basics(conn);
            transactions(conn);
            copiesAndCursors(conn);
            cancel(conn);
            concurrently("");
            concurrently("&autosave=always");
            concurrently("&preferQueryMode=simple");
            conn.setAutoCommit(true);
            run(conn, "DROP TABLE " + TABLE);
        }
        System.out.println("ok");
    }

    static Connection connect(String more) throws SQLException {
        return DriverManager.getConnection(url + "?prepareThreshold=1" + more, user, password);
    }

    static void check(boolean truth, String what) {
        if (!truth) throw new AssertionError(what);
    }

    static void run(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute(sql);
        }
    }

    static void fails(Connection conn, String sqlstate, String sql) throws SQLException {
        try {
            run(conn, sql);
        } catch (SQLException error) {
            check(sqlstate.equals(error.getSQLState()), sql + ": " + error);
            return;
        }
        throw new AssertionError("no error: " + sql);
    }

    static void basics(Connection conn) throws SQLException {
        run(conn, "CREATE TABLE " + TABLE + " (id int PRIMARY KEY, word text, tags text[], doc jsonb, raw bytea)");
        byte[] raw = new byte[256];
        for (int n = 0; n < 256; n++) raw[n] = (byte) n;
        String insert = "INSERT INTO " + TABLE + " VALUES (?, ?, ?, ?::jsonb, ?)";
        try (PreparedStatement statement = conn.prepareStatement(insert)) {
            for (int n = 0; n < 100; n++) {
                statement.setInt(1, n);
                statement.setString(2, "wörd " + n);
                statement.setArray(3, conn.createArrayOf("text", new String[] {"a", "b" + n}));
                statement.setString(4, "{\"n\": " + n + "}");
                statement.setBytes(5, raw);
                statement.addBatch();
            }
            check(statement.executeBatch().length == 100, "batch");
        }
        try (PreparedStatement statement = conn.prepareStatement("SELECT * FROM " + TABLE + " WHERE id = ?")) {
            for (int n = 0; n < 30; n++) {
                statement.setInt(1, n);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next(), "a row");
                    check(rows.getString(2).equals("wörd " + n), "word");
                    check(((String[]) rows.getArray(3).getArray())[1].equals("b" + n), "array");
                    check(rows.getString(4).equals("{\"n\": " + n + "}"), "json");
                    check(Arrays.equals(rows.getBytes(5), raw), "bytea");
                }
            }
        }
    }

    static void transactions(Connection conn) throws SQLException {
        conn.setAutoCommit(false);
        run(conn, "DELETE FROM " + TABLE);
        conn.rollback();
        Savepoint savepoint = conn.setSavepoint();
        fails(conn, "23505", "INSERT INTO " + TABLE + " (id) VALUES (1)");
        conn.rollback(savepoint);
        run(conn, "INSERT INTO " + TABLE + " (id) VALUES (1000)");
        conn.commit();
        for (int n = 0; n < 15; n++) {
            fails(conn, "22012", "SELECT 1/0");
            conn.rollback();
        }
        conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        run(conn, "SELECT 1");
        conn.commit();
        conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
    }

    static void copiesAndCursors(Connection conn) throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int n = 2000; n < 12000; n++) lines.append(n).append("\tcopied ").append(n).append('\n');
        var copy = conn.unwrap(PGConnection.class).getCopyAPI();
        copy.copyIn("COPY " + TABLE + " (id, word) FROM STDIN", new StringReader(lines.toString()));
        StringWriter out = new StringWriter();
        copy.copyOut("COPY (SELECT id, word FROM " + TABLE + " WHERE id >= 2000 ORDER BY id) TO STDOUT", out);
        check(out.toString().contentEquals(lines), "copy");
        conn.commit();
        try (PreparedStatement statement = conn.prepareStatement("SELECT id FROM " + TABLE + " WHERE id >= 2000 ORDER BY id")) {
            statement.setFetchSize(333);
            int expected = 2000;
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) check(rows.getInt(1) == expected++, "cursor");
            }
            check(expected == 12000, "all rows");
        }
        conn.commit();
        try (PreparedStatement statement = conn.prepareStatement("SELECT length(?)")) {
            statement.setString(1, "x".repeat(5_000_000));
            try (ResultSet rows = statement.executeQuery()) {
                check(rows.next() && rows.getInt(1) == 5_000_000, "large parameter");
            }
        }
        var large = conn.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = large.createLO();
        try (var object = large.open(oid)) {
            object.write("by fastpath".getBytes());
            object.seek(3);
            check(new String(object.read(8)).equals("fastpath"), "large object");
        }
        large.delete(oid);
        conn.commit();
    }

    static void cancel(Connection conn) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("SELECT pg_sleep(30)");
            throw new AssertionError("not cancelled");
        } catch (SQLException error) {
            check("57014".equals(error.getSQLState()), error.toString());
            conn.rollback();
        }
        run(conn, "SELECT 1");
        conn.commit();
    }

    static void concurrently(String more) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(12);
        List<Future<?>> all = new ArrayList<>();
        for (int number = 0; number < 12; number++) {
            int id = number;
            all.add(threads.submit(() -> {
                try (Connection conn = connect(more)) {
                    conn.setAutoCommit(false);
                    String sql = "UPDATE " + TABLE + " SET word = ? WHERE id = ? RETURNING word";
                    try (PreparedStatement statement = conn.prepareStatement(sql)) {
                        for (int n = 0; n < 30; n++) {
                            statement.setString(1, id + " " + n);
                            statement.setInt(2, id);
                            try (ResultSet rows = statement.executeQuery()) {
                                check(rows.next() && rows.getString(1).equals(id + " " + n), "update");
                            }
                            conn.commit();
                        }
                    }
                }
                return null;
            }));
        }
        for (Future<?> one : all) one.get();
        threads.shutdown();
    }
}
