"""How a tool of the site and AWS cut hosts off, for the page on every configuration key."""

PAGE = '''\
### Cutting off by a tool of the site

```yaml
isolation:
  tools:
    core-switch:
      host: nms-1                                      # where the tool is installed; without it, this machine
      observe: [/usr/local/sbin/port, is-shut, "{address}"]       # exits 0 where it is cut off, 1 where it is not
      load: [/usr/local/sbin/port, shut, "{address}", --reason, "opsctl {run}"]
      release: [/usr/local/sbin/port, open, "{address}"]
      limit: 30s
hosts:
  nms-1: {address: 10.0.0.8, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF6cnImzUCqs87PB/OVRiIX/84qfNCF7jfEiRKjeXPdS}
  scanner: {address: 10.0.2.8, os: appliance, isolation: command, tool: core-switch}
```

The words are not read by a shell, and run as the account that logs in (put `sudo, -n,` first where they need root). The tool finds
its own password, in a file that only it can read. It also gets `OPSCTL_HOST` and `OPSCTL_ADDRESS` in its environment, and to
cut off `OPSCTL_RUN`, `OPSCTL_INCIDENT`, `OPSCTL_MANAGERS` and `OPSCTL_ALLOW` (what is to stay open, separated by spaces), of
which it makes what it can. One that refuses what is done already (any exit code, and `observe` says so) has done it. At most eight
run at once. It does not lift itself, so it is cut off with `--hold` only.

### Cutting off instances at EC2

```yaml
hosts:
  web-1:
    address: 10.5.1.4
    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDyn91U8Re7VQj1kF8OjcTVyeC+x+JK7vmYUuChC2PFE
    isolation: aws_security_group
    instance: i-0123456789abcdef0
    region: ap-south-1
isolation:
  managers: [203.0.113.9]                              # who may still log in, as the instance sees the address
```

Each network interface of the instance gets a security group that lets in only SSH from this machine and the managers, and what
`--allow` names; what it had stands in tags of the interface, and comes back exactly. Where the subnet holds nobody else,
a network access list cuts open connections too; elsewhere AWS lets those run on until they are idle (up to five days), and
the isolation is called *partial*. Name look-ups through AWS's own resolver are stopped by neither. It does not lift itself:
`--hold`. Credentials are found as boto3 finds them (environment, `~/.aws`, the machine's own role), never in a file of ours. They
need this policy; whether all of it is there is tried (`DryRun`) before anything of the host is changed:

```json
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
  "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeNetworkAcls",
  "ec2:CreateTags", "ec2:DeleteTags", "ec2:ModifyNetworkInterfaceAttribute", "ec2:CreateSecurityGroup", "ec2:DeleteSecurityGroup",
  "ec2:AuthorizeSecurityGroupIngress", "ec2:AuthorizeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
  "ec2:RevokeSecurityGroupEgress", "ec2:CreateNetworkAcl", "ec2:CreateNetworkAclEntry", "ec2:ReplaceNetworkAclAssociation",
  "ec2:DeleteNetworkAcl"]}]}
```

This is shown against stand-ins of AWS only (moto, and botocore's Stubber): try it on an instance of your own before you need it.
'''
