"""How a bucket is prepared for a repository, for the page on every configuration key."""

S3 = '''\
### A bucket that locks what is stored there

```yaml
repositories:
  vault:
    url: s3:https://s3.example.in/opsctl/portal     # host, bucket, prefix
    access_key_file: keys/vault-id                  # the everyday key: its id …
    secret_key_file: keys/vault-secret              # … and its secret
    password_file: keys/vault-password              # what the backups are encrypted with
    object_lock: {mode: COMPLIANCE, days: 30}
```

The owner of the bucket makes it, with **Object Lock** on (which switches versions on; most stores can do it only then) and a
default retention that is at least `object_lock`: opsctl makes no buckets, and no everyday key needs the right to. The
everyday key gets these rights and no others (for AWS as statements of the key's own policy, without `Principal`):

```json
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/writer"]},
   "Action": ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation", "s3:GetBucketVersioning",
              "s3:GetBucketObjectLockConfiguration"],
   "Resource": ["arn:aws:s3:::opsctl"]},
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/writer"]},
   "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:GetObjectRetention", "s3:PutObjectRetention"],
   "Resource": ["arn:aws:s3:::opsctl/*"]},
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/writer"]},
   "Action": ["s3:DeleteObject"],
   "Resource": ["arn:aws:s3:::opsctl/portal/locks/*"]},
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/owner"]}, "Action": ["s3:*"],
   "Resource": ["arn:aws:s3:::opsctl", "arn:aws:s3:::opsctl/*"]}
]}
```

The last statement is for stores (Ceph among them) where what a writer stores belongs to the writer and not to the bucket's owner.

- `s3:PutObjectRetention` is what renews locks. Under `COMPLIANCE` a key that has it, or that was stolen with it, can only
  lengthen: neither it nor the owner can shorten a lock, end it, or turn it into `GOVERNANCE`. A thief can make you pay for junk
  for as long as the locks that they set: an upper bound (`s3:object-lock-remaining-retention-days` on AWS) belongs into the policy.
- Under `GOVERNANCE`, `s3:BypassGovernanceRetention` undoes a lock. At Ceph whoever stored an object has that right whatever the
  policy says: there `GOVERNANCE` does not hold against the everyday key. `opsctl doctor` tries it.
- Everything in the repository is locked for `days` from each new set or copy on, since a new set needs what older ones brought.
  Choose `days` longer than it takes to notice an attack and come back from it.
- `opsctl doctor` keeps a small object at `opsctl/probe` below the prefix, which restic does not look at: two versions of it, locked.
- The operator of the store, and who can delete the account, can delete everything, locked or not.
- restic takes one access key for both ends, so that a copy from one bucket into another needs the same key for both.
- On a machine without a configuration, `--repository s3:https://…` takes the key from `AWS_ACCESS_KEY_ID` and
  `AWS_SECRET_ACCESS_KEY`. Otherwise no environment variable, profile or cloud role is looked at.

Tried with Ceph's gateway (radosgw 16.2), by HTTP and TLS. Not tried: AWS itself, MinIO and others.
'''
