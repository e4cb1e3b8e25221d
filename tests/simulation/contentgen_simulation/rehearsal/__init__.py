"""Randomized campaign against the operator in a simulated world: `python -m contentgen_simulation.rehearsal`.

A plan, made from a seed, lists what people do and what fails, and when. The world carries it out on simulated time with
the operator's own code, including the provider adapters over HTTP; the oracles watch every payment, status and file.

Plan classes (functions of `generate.py`), with the plans of each in a run of 3,000:

    three_uids 222            three successive uids × Retain or Delete × every purchase state × each store unavailable
    identical_inputs 111      several lost replies with identical inputs, also across namespaces
    results 111               results with 3xx, 404, 410, 403, 5xx; expired, partial, oversized, fewer; files gone
    history 111               1,000 entries, lagging, incomplete, asked two days later
    rewound 111               ledger, etcd and bucket rewound, alone and in pairs, in each phase
    rebuilt_cluster 111       a new cluster on the old stores, confirmed by an administrator or not
    recreated_namespace 111   a namespace deleted and created again
    lines 777                 a crash, and an exception, at each line from `planned` to the stored request id, by kind
    provider_accounts 111     accounts of namespaces: labels that change, accounts that are removed or have no key
    points 111                a crash or an error at one or two calls of a store, the API server or the provider
    frozen 111                a process frozen at a call, also between compare-and-set and POST, and resumed; in two of
                              three plans with a Lease, which another process has meanwhile
    terminated 111            SIGTERM during the POST, and during the calls around it
    clocks 111                the operator's clock 24 h or 1 h off
    refused 111               API server: 403, 422, 429, 500 to Jobs, statuses or everything, mostly after the payment
    collecting 111            collecting fails for up to a day; a zombie worker writes late; evictions
    providers 111             unreachable, locked account, 5xx, 429, and replies of the POST by code
    stores 111                one or two stores unavailable from any moment on
    deadlines 111             spec.deadlineSeconds with a slow provider, cancellations
    people 111                many edits, deletions, reruns and cancellations; two operators at once; restarts
    queued 111                one place for several resources; user actions on one that waits, restarts

1,000 more, from seed 1,000,000 on, are of the policies' groups:

    awaiting 300              an approval by the field or the label: given, rejected, of another run, too early, in the
                              manifest, with an edit; suspended, cancelled, deleted, applied again; crashes; a price
                              that changes, or can't be read
    expired 100               ttlSecondsAfterFinished ends while a request is open, at an edit, a rerun or a fault
    held_jobs 100             Jobs created suspended, suspended again while they run, and resumed, as Kueue does; Jobs
                              without a node, with changed settings, suspended just as their outcome is stored
    over_budget 100           a run waits with BudgetExceeded: suspended, resumed, cancelled, edited, deleted, applied
                              again, lost replies, crashes in the wait and at its end
    in_queue 100              the same with Queued
    without_account 100       the same with ProviderNotConfigured: an unknown account, or one without keys
    delivered 100             the same around a notification; the receiver's replies are lost, it fails or wants no
                              more; its address is private, or becomes it; crashes at each point of a delivery
    audited 100               the same around an audit of the providers' accounts; crashes at each point of an audit

750 more, from seed 2,000,000 on, are of restored stores and of ledgers that others change:

    restored 535              each store combination restored to each state of a purchase, with `contentgen restore` in
                              between or not; the resource untouched, applied again, gone, edited and reverted
    lost_object 107           the marker of a purchase, or the object of a try or its end, is lost in the bucket
    interleaved 107           another process works on the resource between two operations of a ledger method

A third of the plans has a ContentBudget, which is raised later. A third has a webhook, a sixth an audit of the
providers' accounts. In a sixth, fal does not know a request for a while, the key is of a foreign account, or a response
is lost in the bucket.

Oracles (`oracles.py`), each proven by planted violations (`PLANTED` in tests/unit/simulation/test_rehearsal.py):

    a former leader changes nothing     a status that is not compared
    a budget is not exceeded            a purchase without a claim; a claim that is not compared with the limit;
                                        totals that are changed
    no payment without an approval      a requirement that is not read; an approval of another run that counts;
                                        an approval of any price; a wait that is left out; a dry run that is paid;
                                        an approved run that is sent twice
    an expired resource leaves everything
                                        files that are deleted with it; a record that is deleted with it;
                                        a resource that expires at once;
                                        a resource that expires with a paid result;
                                        a resource that expires before its request ends
    an expired resource is deleted      a resource that never expires
    an audit changes nothing            an audit that adopts what it finds
    an audit knows the ledger's requests
                                        an audit that does not read the ledger; one without grace for young requests;
                                        one that does not know lost requests
    no notification is lost             a notification that is marked before it is sent
    no notification is invented         a notification that is sent before its status
    a webhook keeps its id              an id that changes with each attempt
    a webhook goes to public addresses only
                                        an address that is not checked
    one POST per purchase               two POSTs; a POST in a cluster that nobody confirmed
    one owner per request               one request id for two purchases
    the response matches the request    the answer of another request; files of another input
    files of a Completed resource       a file that was never there; a file that is deleted later
    a paid result is kept               an answer that is deleted; a result that nobody fetches;
                                        a lost request that nobody searches for;
                                        a request that one answer ends; a foreign key that ends a request;
                                        a lost response that nobody reads again
    cost equals the bill                another bill; another bill for an adopted attempt
    reconciled once a second at most    no pause
    purchases change as documented      a purchase that fails after it was collected
    phases move forward                 a phase that goes back; two steps back for one answer or restore
    an edit starts the next run         an edit that nobody looks at;
                                        an edit of a cancelled run that nobody looks at
    a Job ends with its run             a Job that is left behind; a collect Job that is left behind;
                                        a wait for a node that ends its run
    a stopped resource has a reason     no message; timers that are lost; a queue that is not told
"""
