BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
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

    It 'shows with -WhatIf what would be done, and does nothing' {
        Resize-BackupImage $image -SizeBytes 80MB -WhatIf
        & { $WhatIfPreference = $true; Resize-BackupImage $image -SizeBytes 80MB -Force }
        (Get-BackupImage $image).CapacityBytes | Should -Be 40MB
    }

    It 'grows, is sound and holds its files' {
        $result = Resize-BackupImage $image -SizeBytes 80MB -PassThru
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
        (Resize-BackupImage $image -ToMinimumSize -PassThru).CapacityBytesAfter | Should -Be $least
        Test-BackupImage $image | Should -BeTrue
        (Get-BackupImage $image).CapacityBytes | Should -Be $least
        $target = Join-Path $TestDrive "shrunk-$Format"
        $null = Restore-BackupImage $image $target
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'does the same to an encrypted one' {
        { Resize-BackupImage $locked -SizeBytes 60MB -ErrorAction Stop } | Should -Throw -ErrorId 'PassphraseRequired*'
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
        (Get-FileHash $image).Hash | Should -Be $hash
    }
}
