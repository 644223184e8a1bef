-- Devices and quotas.


-- Superseded changes.


-- Lists of conversations.


-- Names of erased users. They could be blocked, and cannot be unblocked any more.
DELETE FROM blocks WHERE blocked IN
    (SELECT n FROM users WHERE length(id) = 39 AND id GLOB 'erased.*' AND substr(id, 8) NOT GLOB '*[^0-9a-f]*');
