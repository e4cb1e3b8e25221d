"""Gauges of the last audit."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class AuditGauges(Collector):
    """Gauges, read at each scrape."""

    findings: Mapping[str, int] = {}  # numbers by kind
    audited_at: float | None = None  # seconds since the epoch; None: there is no audit, or audits are not daily

    def collect(self) -> Iterable[Metric]:
        """Current values."""
        findings = GaugeMetricFamily(
            "contentgen_audit_findings",
            "Differences between the providers and the ledger in the last audit, by kind. Of the leader only.",
            labels=("kind",),
        )
        for kind, count in self.findings.items():
            findings.add_metric((kind,), count)
        yield findings
        audited = GaugeMetricFamily(
            "contentgen_audit_timestamp_seconds",
            "End of the last audit, where audits are daily. Of the leader only.",
            labels=(),
        )
        if self.audited_at is not None:
            audited.add_metric((), self.audited_at)
        yield audited


gauges = AuditGauges()
