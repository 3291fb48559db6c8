BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    . (Join-Path $PSScriptRoot 'ScriptedHost.ps1')
    $source = Join-Path $TestDrive 'source'
    New-SourceTree $source
}

Describe 'Resize-BackupImage of a <Format>' -ForEach @(
    @{ Format = 'Sparse'; Name = 'a.sparseimage' }
    @{ Format = 'SparseBundle'; Name = 'a.sparsebundle' }
    @{ Format = 'ReadWrite'; Name = 'a.dmg' }
) {
    BeforeAll {
        $secret = ConvertTo-SecureString 'correct horse' -AsPlainText -Force
        $image = (New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format -SizeBytes 40MB).Path
        $locked = (New-BackupImage $source (Join-Path $TestDrive "locked-$Name") -Format $Format -SizeBytes 40MB -Encryption Aes128 -Passphrase $secret).Path
    }

    It 'tells with -WhatIf what would be done, and does nothing' {
        $before = Get-ChildItem $image -Recurse -File | Get-FileHash | ForEach-Object Hash
        $plan = Resize-BackupImage $image -SizeBytes 80MB -WhatIf
        $plan | Should -BeOfType CCImage.ImageResizeResult
        $plan.IsEstimate | Should -BeTrue
        $plan.CapacityBytesAfter | Should -Be 80MB
        $plan.BytesMoved | Should -Be 0
        (& { $WhatIfPreference = $true; Resize-BackupImage $image -ToMinimumSize -Force }).CapacityBytesAfter | Should -Be (Get-BackupImage $image).MinimumSizeBytes
        (Get-BackupImage $image).CapacityBytes | Should -Be 40MB
        Get-ChildItem $image -Recurse -File | Get-FileHash | ForEach-Object Hash | Should -Be $before
    }

    It 'fails with -WhatIf where it would fail' {
        { Resize-BackupImage $image -SizeBytes 512 -WhatIf -ErrorAction Stop } | Should -Throw -ErrorId 'CapacityTooSmall*'
        (Invoke-Unattended "Resize-BackupImage '$locked' -SizeBytes 60MB -WhatIf").ErrorIds | Should -Be 'PassphraseRequired'
    }

    It 'grows, is sound and holds its files' {
        $result = Resize-BackupImage $image -SizeBytes 80MB -PassThru
        $result.IsEstimate | Should -BeFalse
        $result.CapacityBytesBefore | Should -Be 40MB
        $result.CapacityBytesAfter | Should -Be 80MB
        $result.VolumeResized | Should -BeTrue
        $now = Get-BackupImage $image
        $now.CapacityBytes | Should -Be 80MB
        $now.FreeBytes | Should -BeGreaterThan 70MB
        Test-BackupImage $image | Should -BeTrue
        $target = Join-Path $TestDrive "grown-$Format"
        $null = Restore-BackupImage $image $target
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'shrinks to its smallest size, and no further' {
        $least = (Get-BackupImage $image).MinimumSizeBytes
        $least | Should -BeLessThan 40MB
        { Resize-BackupImage $image -SizeBytes ($least - 512) -ErrorAction Stop } | Should -Throw -ErrorId 'CapacityTooSmall*'
        # What has moved is smaller, and may leave room for less: it goes on until nothing changes.
        $smallest = (Resize-BackupImage $image -ToMinimumSize -PassThru).CapacityBytesAfter
        $smallest | Should -BeLessOrEqual $least
        Test-BackupImage $image | Should -BeTrue
        (Get-BackupImage $image).CapacityBytes | Should -Be $smallest
        (Resize-BackupImage $image -ToMinimumSize -PassThru).IsUnchanged | Should -BeTrue
        $target = Join-Path $TestDrive "shrunk-$Format"
        $null = Restore-BackupImage $image $target
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'does the same to an encrypted one' {
        (Invoke-Unattended "Resize-BackupImage '$locked' -SizeBytes 60MB").ErrorIds | Should -Be 'PassphraseRequired'
        (Resize-BackupImage $locked -SizeBytes 60MB -Passphrase $secret -PassThru).CapacityBytesAfter | Should -Be 60MB
        Test-BackupImage $locked -Passphrase $secret | Should -BeTrue
    }
}

Describe 'Resize-BackupImage' {
    It 'asks for exactly one size' {
        $image = (New-BackupImage $source (Join-Path $TestDrive 'empty.sparseimage') -SizeBytes 20MB).Path
        { Resize-BackupImage $image -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*'
        { Resize-BackupImage $image -SizeBytes 40MB -ToMinimumSize -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*'
    }

    It 'leaves read-only images alone' {
        $image = (New-BackupImage $source (Join-Path $TestDrive 'ro.dmg')).Path
        $hash = (Get-FileHash $image).Hash
        { Resize-BackupImage $image -SizeBytes 1GB -ErrorAction Stop } | Should -Throw -ErrorId 'UnsupportedFormat*'
        { Resize-BackupImage $image -SizeBytes 1GB -WhatIf -ErrorAction Stop } | Should -Throw -ErrorId 'UnsupportedFormat*'
        (Get-FileHash $image).Hash | Should -Be $hash
    }
}
