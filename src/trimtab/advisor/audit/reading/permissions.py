"""The least that an audit must be allowed: what it calls, and nothing that changes anything."""

from __future__ import annotations

from typing import Any, Final

PERMISSIONS: Final[dict[str, str]] = {
    "sagemaker:ListEndpoints": "which endpoints there are",
    "sagemaker:DescribeEndpoint": "what they run on now",
    "sagemaker:DescribeEndpointConfig": "their variants, instance types and modes",
    "sagemaker:DescribeModel": "containers that models could share",
    "sagemaker:ListTags": "which endpoints are for production",
    "sagemaker:ListTrainingJobs": "training without spot or checkpoints",
    "sagemaker:DescribeTrainingJob": "the same",
    "sagemaker:ListTransformJobs": "what runs as batch transform",
    "sagemaker:DescribeTransformJob": "the same",
    "application-autoscaling:DescribeScalableTargets": "which endpoints scale, and between what",
    "application-autoscaling:DescribeScalingPolicies": "by what, and with which cooldowns",
    "application-autoscaling:DescribeScheduledActions": "at which times",
    "cloudwatch:GetMetricData": "requests, latencies, use of processors, GPUs and memory",
    "cloudwatch:DescribeAlarms": "how often alarms of policies look",
    "s3:ListBucket": "sizes of captured requests, checkpoints and artifacts; no object is read",
    "s3:GetBucketVersioning": "whether an artifact that is overwritten is lost",
    "s3:GetLifecycleConfiguration": "whether checkpoints ever expire",
    "ecr:DescribeRepositories": "images that are not scanned",
    "ecr:DescribeImages": "images without tags",
    "ecr:GetLifecyclePolicy": "whether they ever expire",
}
"""IAM's actions, and what each is for. (`sts:GetCallerIdentity` needs no permission.)"""


def policy() -> dict[str, Any]:
    """An IAM policy with these permissions."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "TrimtabAudit", "Effect": "Allow", "Action": sorted(PERMISSIONS), "Resource": "*"}],
    }
