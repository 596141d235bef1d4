"""The policies and roles of clouds grant what Ray and a workspace ask for, and no more."""

import json
import re
from pathlib import Path
from typing import Any

import botocore.client
import botocore.exceptions
import pytest
import yaml
from ray.autoscaler._private.aws import node_provider as aws_nodes
from support.cluster_keys import amazon_problems, problems
from support.clusters import CLUSTERS, commands, load, prepared, section, with_role_of_workers

from pipeline.storage.s3 import S3Store


def policy(name: str) -> list[dict[str, Any]]:
    """Return the statements of an IAM policy."""
    document = json.loads((CLUSTERS / "iam" / name).read_text())
    assert document["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def granted(statements: list[dict[str, Any]]) -> set[str]:
    """Return all actions that some statements name."""
    return {action for statement in statements for action in statement["Action"]}


def permission(operation: str) -> str:
    """Return what S3 asks for an operation, by its service authorization reference."""
    parts = {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}
    asked = {"ListObjectsV2": "ListBucket", "HeadObject": "GetObject", **dict.fromkeys(parts, "PutObject")}
    return f"s3:{asked.get(operation, operation)}"


@pytest.mark.parametrize("name", ["aws-launcher.json", "aws-head.json"])
def test_amazons_policies_are_narrow(name: str) -> None:
    config = load("aws.yaml")
    region, cluster = config["provider"]["region"], config["cluster_name"]
    launches = "gpu" if name == "aws-head.json" else "head"
    machine = config["available_node_types"][launches]["node_config"]
    for statement in policy(name):
        assert statement["Effect"] == "Allow"
        assert isinstance(statement["Action"], list)
        assert not any("*" in action for action in statement["Action"])
        condition = statement.get("Condition", {}).get("StringEquals", {})
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in statement["Action"])
            assert condition == {"aws:RequestedRegion": region}
            continue
        assert all(re.match(rf"arn:aws:ec2:{region}:|arn:aws:iam::", arn) for arn in statement["Resource"])
        instances = any(arn.endswith(":instance/*") for arn in statement["Resource"])
        if "ec2:RunInstances" in statement["Action"] and instances:
            expected = {"aws:RequestTag/ray-cluster-name": cluster, "ec2:InstanceType": machine["InstanceType"]}
            assert condition == expected
        elif "ec2:TerminateInstances" in statement["Action"]:
            assert condition == {"aws:ResourceTag/ray-cluster-name": cluster}
        elif "ec2:CreateTags" in statement["Action"]:
            assert condition == {"ec2:CreateAction": "RunInstances"}
        elif "iam:PassRole" in statement["Action"]:
            role = with_role_of_workers()["available_node_types"][launches]["node_config"]["IamInstanceProfile"]["Name"]
            assert statement["Resource"] == [f"arn:aws:iam::*:role/{role}"]
            assert condition == {"iam:PassedToService": "ec2.amazonaws.com"}
    (trust,) = policy("aws-head-trust.json")
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert trust["Action"] == "sts:AssumeRole"


def test_a_workspace_in_a_bucket_may_do_what_it_does_and_no_more(
    s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, objects = policy("aws-workspace.json")
    assert [statement["Effect"] for statement in (listing, objects)] == ["Allow"] * 2
    bucket, prefix = "my-bucket", "msinet"
    assert listing["Resource"] == [f"arn:aws:s3:::{bucket}"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{prefix}/*"]}}
    assert objects["Resource"] == [f"arn:aws:s3:::{bucket}/{prefix}/*"]
    assert f"s3://BUCKET/{prefix}" in section("AWS")
    assert ["sed", "-i", f"s/{bucket}/BUCKET/", "clusters/iam/aws-workspace.json"] in commands(section("AWS"))

    calls: list[tuple[str, dict[str, Any]]] = []
    whole = botocore.client.BaseClient._make_api_call

    def spy(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        calls.append((operation, parameters))
        if parameters.get("PartNumber") == 2:
            raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, operation)
        return whole(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", spy)
    store = S3Store(*s3_address.removeprefix("s3://").split("/", 1))
    assert store.create("stages/result.json", b"{}")
    store.replace("stages/leases", b"{}")
    assert store.read("stages/absent") is None
    large = tmp_path / "large"
    large.write_bytes(bytes(2**24))  # two parts
    with pytest.raises(OSError, match="access was denied"):
        store.upload(large, "stages/large")
    large.write_bytes(b"small")
    store.upload(large, "stages/small")
    store.download("stages/small", tmp_path / "small")
    assert len(store.entries("stages")) == 3
    assert len(store.entries("")) == 3
    store.delete("stages/small")

    asked = {permission(operation) for operation, _ in calls}
    assert asked == granted([listing, objects])
    for operation, parameters in calls:
        assert parameters.get("Prefix", parameters.get("Key", "")).startswith("some/prefix/"), (operation, parameters)
        assert (permission(operation) in listing["Action"]) == ("Prefix" in parameters)


def test_head_and_workers_get_their_roles_on_a_bucket() -> None:
    assert not problems("aws.yaml", with_role_of_workers())
    lines = commands(section("AWS"))
    assert ["sed", "-i", "s/# IamInstanceProfile/IamInstanceProfile/", "clusters/aws.yaml"] in lines
    given = "for ROLE in msinet-head msinet-worker; do\n  aws iam put-role-policy --role-name $ROLE "
    assert given in section("AWS")
    for kind, node in with_role_of_workers()["available_node_types"].items():
        role = node["node_config"]["IamInstanceProfile"]["Name"]
        assert role == {"head": "msinet-head", "gpu": "msinet-worker"}[kind]
        profile = ["--instance-profile-name", role]
        assert ["aws", "iam", "create-instance-profile", *profile] in lines
        assert ["aws", "iam", "add-role-to-instance-profile", *profile, "--role-name", role] in lines


def test_googles_roles_are_lists_of_single_rights() -> None:
    launcher, head = (
        yaml.safe_load((CLUSTERS / "iam" / f"gcp-{who}.yaml").read_text())["includedPermissions"]
        for who in ("launcher", "head")
    )
    for permissions in (launcher, head):
        assert permissions == sorted(set(permissions))
        assert all(re.fullmatch(r"[a-z]+(\.[a-zA-Z]+){2}", permission) for permission in permissions)
    assert set(head) < set(launcher)
    assert not any(permission.startswith(("iam", "resourcemanager", "storage")) for permission in head)
    workers = load("gcp.yaml")["available_node_types"]["gpu"]["node_config"]
    assert "serviceAccounts" not in workers


class Amazon:
    """Answers what Ray asks EC2, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert client.meta.service_model.service_name == "ec2", operation
        self.calls.append((operation, parameters))
        answer: dict[str, Any] = getattr(self, operation, dict)()
        return answer

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def DescribeInstanceTypes(self) -> dict[str, Any]:
        sizes = {"VCpuInfo": {"DefaultVCpus": 4}, "MemoryInfo": {"SizeInMiB": 16384}}
        return {"InstanceTypes": [{"InstanceType": name, **sizes} for name in ("m6i.xlarge", "g5.xlarge")]}

    def DescribeKeyPairs(self) -> dict[str, Any]:
        return {"KeyPairs": []}

    def CreateKeyPair(self) -> dict[str, Any]:
        return {"KeyName": "msinet", "KeyMaterial": "a private key"}

    def DescribeSubnets(self) -> dict[str, Any]:
        where = {"AvailabilityZone": "us-west-2a", "MapPublicIpOnLaunch": True, "State": "available"}
        return {"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", **where}]}

    def DescribeSecurityGroups(self) -> dict[str, Any]:
        ssh = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
        return {
            "SecurityGroups": [
                {"GroupId": "sg-1", "GroupName": "msinet", "VpcId": "vpc-1", "IpPermissions": [ssh]},
                {"GroupId": "sg-2", "GroupName": "default", "VpcId": "vpc-1", "IpPermissions": []},
            ]
        }

    def RunInstances(self) -> dict[str, Any]:
        return {"Instances": [self._instance()]}

    def DescribeInstances(self) -> dict[str, Any]:
        return {"Reservations": [{"Instances": [self._instance()]}]}

    @staticmethod
    def _instance() -> dict[str, Any]:
        return {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": []}


@pytest.mark.parametrize("bucket", [False, True])
def test_what_ray_asks_of_aws_is_what_the_policies_grant(
    bucket: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    amazon = Amazon()
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", lambda *arguments: amazon(*arguments))
    monkeypatch.setattr(aws_nodes, "TAG_BATCH_DELAY", 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    provider_class = aws_nodes.AWSNodeProvider

    def one_life(kind: str) -> dict[str, Any]:
        """Launch, see, tag and end a node; what EC2 was asked to start."""
        node = config["available_node_types"][kind]
        tags = {"ray-node-type": "head" if kind == "head" else "worker", "ray-node-name": kind}
        provider.create_node(node["node_config"], {**tags, "ray-launch-config": "h", "ray-user-node-type": kind}, 1)
        provider.non_terminated_nodes({})
        provider.set_node_tags("i-1", {"ray-node-status": "up-to-date"})
        provider.terminate_nodes(["i-1"])
        (request,) = [parameters for operation, parameters in amazon.calls if operation == "RunInstances"]
        return request

    config = provider_class.fillout_available_node_types_resources(
        prepared(with_role_of_workers() if bucket else load("aws.yaml"))
    )
    config = provider_class.bootstrap_config(config)
    provider = provider_class(config["provider"], config["cluster_name"])
    assert [path.name for path in (tmp_path / ".ssh").iterdir()] == ["msinet.pem"]
    head = one_life("head")
    asked = {f"ec2:{operation}" for operation, _ in amazon.take()}
    assert asked | {"iam:PassRole"} == granted(policy("aws-launcher.json"))

    worker = one_life("gpu")
    asked = {f"ec2:{operation}" for operation, _ in amazon.take()}
    assert asked | {"iam:PassRole"} == granted(policy("aws-head.json"))
    assert head["IamInstanceProfile"] == {"Name": "msinet-head"}
    assert worker.get("IamInstanceProfile") == ({"Name": "msinet-worker"} if bucket else None)
    for request in (head, worker):
        assert request["SecurityGroupIds"] == ["sg-1"]
        assert not amazon_problems(request)
        (instance,) = [spec["Tags"] for spec in request["TagSpecifications"] if spec["ResourceType"] == "instance"]
        assert {"Key": "ray-cluster-name", "Value": "msinet"} in instance
        assert {"Key": "project", "Value": "msinet"} in instance
