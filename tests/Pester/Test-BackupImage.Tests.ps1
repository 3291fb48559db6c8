BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'play'
    New-Playground $folder
    $disk = Join-Path $folder 'Backups/Disk.dmg'
    $sparse = Join-Path $folder 'Backups/Photos.sparseimage'
    $bundle = Join-Path $folder 'Backups/Documents.sparsebundle'

    function Set-FlippedBit([string] $Path, [long] $Offset) {
        $file = [IO.File]::Open($Path, 'Open', 'ReadWrite')
        try {
            $null = $file.Seek($Offset, 'Begin')
            $value = $file.ReadByte()
            $null = $file.Seek($Offset, 'Begin')
            $file.WriteByte($value -bxor 4)
        }
        finally { $file.Dispose() }
    }
}

Describe 'Test-BackupImage' {
    It 'says true of every sound image, one Boolean each' {
        $answer = Get-ChildItem (Join-Path $folder 'Backups') | Test-BackupImage
        $answer | Should -Be $true, $true, $true
        $answer | Should -BeOfType [bool]
    }

    It 'lists with -Detailed what was checked' {
        foreach ($image in $disk, $sparse, $bundle) {
            $findings = Test-BackupImage $image -Detailed
            $findings.Count | Should -BeGreaterThan 5
            $findings.Grade | Sort-Object -Unique | Should -Be 'Ok'
            $findings.Path | Sort-Object -Unique | Should -Be $image
            $findings.Check | Should -Contain 'GPT'
        }
    }

    It 'finds one flipped bit in the data of a read-only image' {
        $damaged = Join-Path $folder 'damaged.dmg'
        Copy-Item $disk $damaged
        Set-FlippedBit $damaged 5000
        Test-BackupImage $damaged | Should -BeFalse
        $finding = Test-BackupImage $damaged -Detailed | Where-Object Grade -eq Damaged | Select-Object -First 1
        $finding.Message | Should -Not -BeNullOrEmpty
        $finding.Remedy | Should -Not -BeNullOrEmpty
    }

    It 'mends a copy of a header, and only with -Repair' {
        $damaged = Join-Path $folder 'damaged.sparsebundle'
        Copy-Item $bundle $damaged -Recurse
        Remove-Item (Join-Path $damaged 'Info.bckup')
        Test-BackupImage $damaged | Should -BeFalse
        (Test-BackupImage $damaged -Detailed).Grade | Should -Contain 'Repairable'
        Test-BackupImage $damaged -Repair -WhatIf | Should -BeFalse
        Join-Path $damaged 'Info.bckup' | Should -Not -Exist
        Test-BackupImage $damaged -Repair | Should -BeTrue
        Join-Path $damaged 'Info.bckup' | Should -Exist
        Test-BackupImage $damaged | Should -BeTrue
    }

    It 'mends the same in an encrypted image' {
        $secret = ConvertTo-SecureString 'correct horse' -AsPlainText -Force
        $locked = (New-BackupImage (Join-Path $folder 'Documents') (Join-Path $folder 'locked.sparsebundle') -SizeBytes 64MB -Encryption Aes256 -Passphrase $secret).Path
        Remove-Item (Join-Path $locked 'Info.bckup')
        Test-BackupImage $locked -Passphrase $secret | Should -BeFalse
        Test-BackupImage $locked -Passphrase $secret -Repair | Should -BeTrue
    }

    It 'gives an error, not false, for what cannot be judged' {
        { Test-BackupImage (Join-Path $folder 'nothing.dmg') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotFound*'
        { Test-BackupImage (Join-Path $folder 'Documents/report.txt') -ErrorAction Stop } | Should -Throw -ErrorId 'UnknownFormat*'
    }

    It 'takes deserialised objects' { Get-BackupImage $disk | ConvertTo-Deserialised | Test-BackupImage | Should -BeTrue }
}
