package dev.contentgen.sandbox;

import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

import org.h2.mvstore.MVStore;

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;

/**
 * A MongoDB server whose acknowledged writes survive a kill: the stock H2 backend commits once a second and so lost
 * up to 974 of them. Arguments: host, port, and a file (none: in memory).
 */
public final class MongoStore extends H2Backend {

    /** Commands that may change something; `aggregate` because of `$out` and `$merge`. */
    private static final Set<String> WRITES = Set.of(
        "insert", "update", "delete", "findandmodify", "aggregate", "create", "createindexes", "drop", "dropindexes",
        "dropdatabase", "renamecollection");
    private static final long COMPACT_EVERY_S = 5;
    private static final int COMPACT_MS = 200;

    /** One writer at a time: what is acknowledged is then exactly what the commit has written. */
    private final ReentrantLock lock = new ReentrantLock();

    private MongoStore(MVStore store) {
        super(store);
        version(new Version());
    }

    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
        if (!WRITES.contains(command.toLowerCase(Locale.ROOT))) {
            return super.handleCommand(channel, database, command, query);
        }
        lock.lock();
        try {
            Document reply = super.handleCommand(channel, database, command, query);
            commit();
            return reply;
        } finally {
            lock.unlock();
            exitWhenBroken();
        }
    }

    @Override
    public void commit() {
        if (!isInMemory()) {
            super.commit();
        }
    }

    private void compact() {
        lock.lock();
        try {
            getMvStore().compactFile(COMPACT_MS);
        } finally {
            lock.unlock();
            exitWhenBroken();
        }
    }

    /** A full disk closes the store for good; ended here, the supervisor starts it again and says so. */
    private void exitWhenBroken() {
        if (getMvStore().isClosed()) {
            System.err.println("the store has closed itself, ending");
            Runtime.getRuntime().halt(1);
        }
    }

    /** pymongo 4.20 refuses the server's own 5.0 with wire version 8. */
    private record Version() implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    }

    public static void main(String[] arguments) {
        boolean inMemory = arguments.length < 3;
        // No background commits: each write commits itself, on its own thread.
        MVStore store = inMemory ? MVStore.open(null)
            : new MVStore.Builder().fileName(arguments[2]).autoCommitDisabled().open();
        MongoStore backend = new MongoStore(store);
        MongoServer server = new MongoServer(backend);
        server.bind(arguments[0], Integer.parseInt(arguments[1]));
        if (!inMemory) {
            Executors.newSingleThreadScheduledExecutor(task -> {
                Thread thread = new Thread(task, "compact");
                thread.setDaemon(true);
                return thread;
            }).scheduleWithFixedDelay(backend::compact, COMPACT_EVERY_S, COMPACT_EVERY_S, TimeUnit.SECONDS);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            backend.lock.lock(); // kept: no command may meet the store while it closes
            server.stopListening();
            backend.close();
        }));
        System.out.println("mongo listening on " + server.getLocalAddress().getPort());
    }
}
